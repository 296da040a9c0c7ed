startMarks();
startScores();
startViewer();
startGallery();
startTables();
document.body.classList.add("ready");
